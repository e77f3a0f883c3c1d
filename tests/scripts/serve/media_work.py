"""What worker processes do in the tests of media routes, in the place of decoding: a name says what happens."""

import os
import time

from features.errors import MediaError
from features.playback import Playable


def playable(path):
    """`sound` is played from half a second on, `page` says that it is HTML, and all but mp4 is converted."""
    name = path.resolve().name
    if "hostile" in name:
        raise MediaError("damaged")
    if "sound" in name:
        return Playable(kind="audio", direct=True, mime="audio/mpeg", zero_s=0.5)
    if "page" in name:
        return Playable(kind="video", direct=True, mime="text/html")
    direct = path.suffix == ".mp4"
    return Playable(kind="video", direct=direct, mime="video/mp4", why="" if direct else "its video codec is hevc")


def thumbnail(path, start_s, end_s):
    """Not a JPEG, but what was read."""
    if "sound" in path.resolve().name:
        raise MediaError("no picture")
    if "crash" in path.resolve().name:
        os._exit(7)
    return path.read_bytes()[:10] + f"{path.suffix} {start_s} {end_s}".encode()


def write_moment(path, start_s, end_s, out):
    """Of `slow` it never ends, and says in the file `begun` who began."""
    if "slow" in path.resolve().name:
        path.resolve().with_name("begun").write_text(str(os.getpid()))
        time.sleep(600)
    with path.resolve().with_name("counted").open("a") as marks:
        marks.write("x")
    out.write_bytes(b"moment" * 100)
