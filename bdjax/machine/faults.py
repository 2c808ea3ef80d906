"""What a disk or a bucket refuses, in a sentence: the fault of no method."""

import contextlib
import errno
import os
import re
from collections.abc import Iterator

STATUS = 74  # exit status: EX_IOERR of sysexits.h
_REMEDIES = {
  errno.ENOSPC: "free some space there",
  errno.EDQUOT: "free some of your quota",
  errno.EACCES: "allow it, or give another folder",
  errno.EPERM: "allow it, or give another folder",
  errno.EROFS: "give a folder that may be written",
  errno.ENOENT: "it, or a folder above it, was removed meanwhile",
  errno.ENAMETOOLONG: "give a shorter path",
}
_CODE = re.compile(r"os_error_code='(\d+)'")  # as TensorStore says errno


class Fault(OSError):
  """A file that cannot be read or written.

  Attributes:
    reason: the cause in words.
  """

  def __init__(self, path: os.PathLike[str], doing: str, cause: Exception):
    """Describes a cause.

    Args:
      path: what was to be read or written.
      doing: which of both.
      cause: what was raised.
    """
    number = code(cause)
    words = os.strerror(number) if number else " ".join(str(cause).split())
    self.reason = words or type(cause).__name__
    super().__init__(number, self.reason, os.fspath(path))
    remedy = _REMEDIES.get(number, "see to the disk or the network")
    self._text = f"cannot {doing} {path} ({self.reason}): {remedy}"

  def __str__(self) -> str:
    """Returns the sentence, without its end."""
    return self._text


def code(error: Exception) -> int | None:
  """Returns the system's number of an error, if it has one."""
  if isinstance(error, OSError):
    return error.errno
  match = _CODE.search(str(error))
  return int(match[1]) if match else None


@contextlib.contextmanager
def faults(
  path: os.PathLike[str], doing: str, *, all_are: bool = False
) -> Iterator[None]:
  """Has what the system refuses in the block raised as a `Fault`.

  Args:
    path: what is read or written.
    doing: which of both.
    all_are: clients of buckets have their own kinds of errors, hence all are.

  Raises:
    Fault: the system has refused.
  """
  try:
    yield
  except Fault:
    raise
  except Exception as error:
    if all_are or isinstance(error, OSError) or code(error):
      raise Fault(path, doing, error) from error
    raise
