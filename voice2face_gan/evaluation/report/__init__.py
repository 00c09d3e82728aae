"""The report: one self-contained HTML page about one or more runs, and the same as Markdown.

gather.py      figures, images, logs and configuration of each run
tables.py      the table of figures; published.py: figures of papers, marked as of other data
cards.py       data set card and model card
plots.py       drawings, where matplotlib is installed
page.*.j2      the page and its Markdown twin
writing.py     both and the twin's images, all of them or none
"""

from voice2face_gan.evaluation.report.gather import ReportRequest, RunReport, gather_runs
from voice2face_gan.evaluation.report.page import build
from voice2face_gan.evaluation.report.writing import Places, write

__all__ = ["Places", "RunReport", "ReportRequest", "build", "gather_runs", "write"]
