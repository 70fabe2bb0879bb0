"""`python -m holdfast.delivery`: the shipper's process; what to deliver comes on its standard input."""

from __future__ import annotations

import logging
import signal
import sys


def main() -> None:
    """Read the target, deliver, end."""
    from holdfast.delivery.process import grace_of
    from holdfast.delivery.shipper import Shipper
    from holdfast.delivery.target import Target

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    target = Target.from_json(sys.stdin.read())
    shipper = Shipper(target, grace_of(target))
    signal.signal(signal.SIGTERM, lambda *_: shipper.stop())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    shipper.run()


if __name__ == "__main__":
    main()
