"""What a library's log record may say in our logs: who, how bad, and a sentence without what it quotes.

Presigned URLs carry their signature in the query, and paths outside the API groups are not public; asyncio
shows exceptions, which may quote a request, after its first line; urllib3 shows the bytes of a reply whose
headers it does not understand.
"""

from __future__ import annotations

import logging
import re

_MOST_CHARACTERS = 500
_URL = re.compile(
    r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*://)([^\s/?#'\"@]*@)?(?P<host>[^\s/?#'\")>]*)[^\s'\")>]*"
)
_QUERY = re.compile(r"\?[^\s'\")>]+")
_QUOTED_REPLY = re.compile(r"unparsed data:.*")


def library_fields(record: logging.LogRecord) -> dict[str, str]:
    """Level, logger and message, with the type and place of an exception; of the message its first line,
    without queries, what follows the host of a URL, and users of URLs. Nothing else of the record.
    """
    message = _message(record).partition("\n")[0]
    message = _QUOTED_REPLY.sub("unparsed data: …", message)
    message = _URL.sub(lambda url: f"{url['scheme']}{url['host']}/…", message)
    message = _QUERY.sub("?…", message)
    fields = {
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": message[:_MOST_CHARACTERS],
    }
    if record.exc_info and record.exc_info[1] is not None:
        fields["exception"] = where(record.exc_info[1])
    return fields


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:  # noqa: BLE001  `logging` would print all arguments
        return f"a message that cannot be formatted ({type(error).__name__})"


def where(error: BaseException) -> str:
    """Type and place of an unexpected error; never its message, which may quote a request."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return type(error).__name__
    code = trace.tb_frame.f_code
    return f"{type(error).__name__} in {code.co_qualname} line {trace.tb_lineno}"
