"""The report and the model card of a run, made from nothing but the files in its folder."""

from .card import write_model_card
from .continual import Overall, write_continual_report
from .continual_card import write_continual_card
from .page import write_report
from .rewrite import report_run
from .sweep import write_sweep_report
from .verdict import Verdict, judge

__all__ = [
    "Overall",
    "Verdict",
    "judge",
    "report_run",
    "write_continual_card",
    "write_continual_report",
    "write_model_card",
    "write_report",
    "write_sweep_report",
]
