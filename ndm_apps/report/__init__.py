"""Tables, figures and self-contained HTML pages, made from run folders alone: neither torch nor MLflow is needed."""

from ndm_apps.report.differences import difference_table, differences_to, paired_differences
from ndm_apps.report.figures import save_svg, style
from ndm_apps.report.results import columns_of, load_results, lookup, varying_settings
from ndm_apps.report.run_page import write_run_page
from ndm_apps.report.sweep_page import write_sweep, write_sweep_page
from ndm_apps.report.tables import Table, compare, summary

__all__ = [
    "Table",
    "columns_of",
    "compare",
    "difference_table",
    "differences_to",
    "load_results",
    "lookup",
    "paired_differences",
    "save_svg",
    "style",
    "summary",
    "varying_settings",
    "write_run_page",
    "write_sweep",
    "write_sweep_page",
]
