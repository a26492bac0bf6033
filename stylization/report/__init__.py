"""What a set of finished runs says, computed from their folders: tables over seeds, curves, pictures, a page."""

from stylization.report.page import page, question_of, tables
from stylization.report.picture import columns, picture
from stylization.report.runs import Run, by, differences, finished, found
from stylization.report.table import Table, terms

__all__ = [
    "Run",
    "Table",
    "by",
    "columns",
    "differences",
    "finished",
    "found",
    "page",
    "picture",
    "question_of",
    "tables",
    "terms",
]
