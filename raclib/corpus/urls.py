"""URLs less what is a secret in them: what may be stored, compared and printed."""

import re
from typing import Any
from urllib.parse import unquote_plus, urlsplit

from raclib.errors import UserError

_CREDENTIALS = re.compile(r"://(?:[^/]*@|[^/:]*:[^/]*[^/\d][^/]*/.*@)")
# Names in a query whose values are secrets.
_SECRET = re.compile(
    r"(sig|sign|pass|code|sid|jwt|hmac|hdnts|hdnea)$|.*(key|auth|pwd)$|.*(signature|token|secret"
    r"|passw|credential|authorization|session|access[-_]?(key|id))",
    re.IGNORECASE,
)
# What stands beside a signature and is renewed with it: S3, GCS, CloudFront, nginx, Azure.
_SIGNED = re.compile(
    r"(x-(amz|goog|oss|cos|obs|ms)-.*|date|exp|expires|expiry|md5|policy|key-pair-id"
    r"|sv|ss|srt|sp|se|st|spr|sr|sip|si|ses|sdd|scid|saoid|suoid|sk(oid|tid|t|e|s|v))$",
    re.IGNORECASE,
)


def is_web(uri: str) -> bool:
    """Whether this is an http(s) URL."""
    return uri.lower().startswith(("http://", "https://"))


def public_name(uri: str) -> str:
    """A path or URI; an http(s) URL without user, password and what its query has of secrets.

    Two URLs of which one has a renewed signature have one name; the rest of a query stays, because
    it may tell one file from another.
    """
    if not is_web(uri):
        return uri
    parts = urlsplit(uri)
    given = [(unquote_plus(item.partition("=")[0]), item) for item in parts.query.split("&")]
    kept = [(name, item) for name, item in given if not _SECRET.match(name)]
    if len(kept) < len(given):
        kept = [(name, item) for name, item in kept if not _SIGNED.match(name)]
    query = "&".join(item for _, item in kept)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query=query, fragment="").geturl()


def without_secrets(value: Any) -> Any:
    """A JSON value with the public name of every URL in it."""
    if isinstance(value, dict):
        return {name: without_secrets(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(part) for part in value]
    return public_name(value) if isinstance(value, str) else value


def refuse_credentials(
    uri: str, setting: str = "", places: str = "the environment or the provider's own files"
) -> None:
    """Refuses a URI that would carry a password into logs, runs and messages.

    Args:
        uri: A path or URI.
        setting: What it was given as.
        places: Where credentials belong.

    Raises:
        UserError: if it does; the message has nothing of it but its scheme.
    """
    # A query of a database's URI may hold a password too, and no secret belongs in one.
    query = uri.partition("://")[2].partition("?")[2]
    is_secret = any(
        _SECRET.match(unquote_plus(item.partition("=")[0])) for item in re.split("[&;]", query)
    )
    if _CREDENTIALS.search(uri) or is_secret:
        shown = f"{uri.partition('://')[0]}://...{'?' if is_secret else '@'}..."
        raise UserError(
            f"{setting}{': ' if setting else ''}{shown}: a URI may not carry credentials; set them "
            f"in {places}"
        )
