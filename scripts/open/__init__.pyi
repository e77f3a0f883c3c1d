from .state import LibraryState as LibraryState
from .state import all_libraries as all_libraries
from .state import forget_leftovers as forget_leftovers
from .state import libraries_folder as libraries_folder
from .state import size_of as size_of
