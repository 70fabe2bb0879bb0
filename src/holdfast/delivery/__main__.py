"""`python -m holdfast.delivery [files]`: the process of the shipper, or of an uploader.

What to deliver comes on its standard input.
"""

from __future__ import annotations

import logging
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.delivery.shipper import Shipper
    from holdfast.delivery.uploader import Uploader


def main() -> None:
    """Read the target, deliver, end."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    work = _uploader() if sys.argv[1:] == ["files"] else _shipper()
    signal.signal(signal.SIGTERM, lambda *_: work.stop())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    work.run()


def _shipper() -> Shipper:
    from holdfast.delivery.process import grace_of
    from holdfast.delivery.shipper import Shipper
    from holdfast.delivery.target import Target

    target = Target.from_json(sys.stdin.read())
    return Shipper(target, grace_of(target))


def _uploader() -> Uploader:
    from holdfast.delivery.upload_target import UploadTarget
    from holdfast.delivery.uploader import Uploader

    return Uploader(UploadTarget.from_json(sys.stdin.read()))


if __name__ == "__main__":
    main()
