"""A lock that cannot be had is an error, not a wait without end."""

import sys
from pathlib import Path

import pytest

from skclip.utils.locks import locked


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
def test_a_folder_in_which_no_file_can_be_made_is_said():
    with pytest.raises(OSError, match="/proc"), locked(Path("/proc/.lock"), "waiting"):
        pass
