from .entry import make_entries as make_entries
from .terminal import print_report as print_report
