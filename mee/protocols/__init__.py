"""Named evaluation protocols: which captions are asked, among which clips, and what must hold."""
