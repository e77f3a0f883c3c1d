"""Models without captions: what a sentence reaches, and how much each expert counts for it."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from mee.config import NO_TEXT
from mee.data.source import match_captions if False else None
