"""botocore writes session tokens, and what STS lends, into its log at level DEBUG; they are masked there."""

from __future__ import annotations

import logging
import re

from holdfast.core.uris import MASK

# The request that is signed, the one that is sent, and the answer.
_LOGGERS = ("botocore.auth", "botocore.endpoint", "botocore.parsers")
_TOKEN = re.compile(r"(security-token['\"]?\s*[:=]\s*(?:b?['\"])?)[^\s'\",&]+", re.IGNORECASE)
_LENT = re.compile(
    r"(<(SecretAccessKey|SessionToken|AccessKeyId)>)[^<]+|(\"(?:secretAccessKey|sessionToken)\"\s*:\s*\")[^\"]+"
)


class _Masking(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        """Put the text with its secrets masked in place of the record's, and let it pass."""
        text = record.getMessage()
        masked = _LENT.sub(lambda found: f"{found[1] or found[3]}{MASK}", _TOKEN.sub(rf"\g<1>{MASK}", text))
        if masked != text:
            record.msg, record.args = masked, None
        return True


_filter = _Masking()


def mask_aws_logs() -> None:
    """Mask secrets in botocore's log from now on, whoever logs there; calling it again changes nothing."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_filter)
