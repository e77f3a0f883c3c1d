from .config import PrecomputeConfig as PrecomputeConfig
from .isolated import Failed as Failed
from .isolated import IsolatedCalls as IsolatedCalls
from .isolated import run_isolated as run_isolated
from .precompute import Job as Job
from .precompute import declare_streams as declare_streams
from .process import use_one_thread as use_one_thread
from .result import JobReport as JobReport
