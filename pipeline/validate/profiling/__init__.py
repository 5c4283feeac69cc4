"""What a source is like, and the suite that it suggests: the first step with a source that nobody knows yet."""

from pipeline.validate.profiling.draft import draft_suite, write_draft
from pipeline.validate.profiling.findings import findings_of
from pipeline.validate.profiling.profile import ColumnProfile, FeedProfile
from pipeline.validate.profiling.read import profile_feed

__all__ = ["ColumnProfile", "FeedProfile", "draft_suite", "findings_of", "profile_feed", "write_draft"]
