"""What came out: a table for the console and one self-contained HTML page.

Both read a work directory and nothing else: `config.json`, `results.jsonl`,
`curves.jsonl` and `pictures/*.npz`; `load` reads it once for both.
"""

from bdjax.report.comparison import write as write_comparison
from bdjax.report.console import show
from bdjax.report.gallery import write as write_gallery
from bdjax.report.load import load
from bdjax.report.page import write

__all__ = ["load", "show", "write", "write_comparison", "write_gallery"]
