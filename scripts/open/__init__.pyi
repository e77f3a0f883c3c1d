from .state import LibraryState as LibraryState
