"""`python -m holdfast_examples.basketworld.analytics`; worker processes import this file too, and do nothing by it."""

from __future__ import annotations

if __name__ == "__main__":
    from .commands import main

    main()
