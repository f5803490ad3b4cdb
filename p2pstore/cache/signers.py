"""Query parameters that are credentials: which signer made them, whom they stand for. Pure.

A signed URL is private, and its signature is no part of its identity: it changes with each signing. The tables hold the
documented names of each signing scheme; they are compared without regard to case, because taking too much for a secret costs
sharing, too little costs the secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple
from urllib.parse import unquote


class Parameter(NamedTuple):
    """One piece of a query: its text as written, its name decoded in lower case, its value decoded."""

    text: str
    name: str
    value: str


class Signature(NamedTuple):
    """What the signed parameters say."""

    signer: str | None
    credential: str
    """Whom it stands for; a secret unless the scheme names its signer. Empty when unsigned."""
    names: frozenset[str]
    """The parameters that are no part of the identity, in lower case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """One way to sign; any parameter with the prefix, or all the markers together, show it."""

    signer: str
    prefix: str = ""
    markers: frozenset[str] = frozenset()
    companions: frozenset[str] = frozenset()
    """Signed parameters that mean nothing without the markers."""
    identity: str = ""
    """The parameter that names the signer; what follows a `/` in it is date and region."""
    secret: str = ""
    """The parameter that is the signature itself."""

    def names_in(self, present: frozenset[str]) -> frozenset[str]:
        """Those of the parameters present that belong to this scheme; none when it was not used."""
        prefixed = frozenset(name for name in present if self.prefix and name.startswith(self.prefix))
        marked = bool(self.markers) and self.markers <= present
        if not prefixed and not marked:
            return frozenset()
        return prefixed | (present & (self.companions | (self.markers if marked else frozenset())))


SCHEMES: Final = (
    # Hugging Face's storage bridge; its host also signs in the ways of S3 and CloudFront with keys of its own.
    Scheme(signer="hf", prefix="x-xet-", identity="x-xet-cas-uid", secret="x-amz-signature"),
    Scheme(signer="hf", markers=frozenset({"__sign"}), secret="__sign"),
    # AWS Signature Version 4 in the query; x-id is what AWS SDKs add to say which operation was signed.
    Scheme(
        signer="s3",
        prefix="x-amz-",
        companions=frozenset({"x-id"}),
        identity="x-amz-credential",
        secret="x-amz-signature",
    ),
    # AWS Signature Version 2.
    Scheme(
        signer="s3",
        markers=frozenset({"awsaccesskeyid", "signature"}),
        companions=frozenset({"expires"}),
        identity="awsaccesskeyid",
    ),
    # Google Cloud Storage V4 and V2 signed URLs.
    Scheme(signer="gcs", prefix="x-goog-", identity="x-goog-credential", secret="x-goog-signature"),
    Scheme(
        signer="gcs",
        markers=frozenset({"googleaccessid", "signature"}),
        companions=frozenset({"expires"}),
        identity="googleaccessid",
    ),
    # Azure shared access signatures: account, service and user delegation; rsc* choose response fields and stay.
    Scheme(
        signer="azure",
        markers=frozenset({"sig", "sv"}),
        companions=frozenset(
            "se st sp sr si ss srt spr sip ses sdd skoid sktid skt ske sks skv saoid suoid scid skdutid sduoid".split()
        ),
        identity="skoid",
        secret="sig",
    ),
    # CloudFront signed URLs with a canned or a custom policy.
    Scheme(
        signer="cloudfront",
        markers=frozenset({"key-pair-id", "signature"}),
        companions=frozenset({"expires", "policy", "hash-algorithm"}),
        identity="key-pair-id",
    ),
)
HF_DOMAINS: Final = ("huggingface.co", "hf.co")
BEARER: Final = "token"
"""Signer of a URL with a secret of no known scheme."""
BEARER_NAMES: Final = frozenset(
    "token access_token auth_token id_token private_token job_token sas_token x-auth-token jwt bearer auth authorization "
    "sig signature x-signature hmac apikey api_key api-key x-api-key access_key accesskey secret client_secret password "
    "awsaccesskeyid googleaccessid ossaccesskeyid key-pair-id session_token sessionid".split()
)
"""Names that mean a secret wherever they stand. Not among them: `key` and `code`, which name things more often."""
BEARER_PREFIXES: Final = ("x-oss-", "q-sign-", "q-ak", "x-cos-security-token", "x-ms-sas")


def parameters(query: str) -> list[Parameter]:
    """The query cut at `&`; nothing is dropped, so that joining the texts gives the query again."""
    found = []
    for text in query.split("&"):
        name, _, value = text.partition("=")
        found.append(Parameter(text, unquote(name).lower(), unquote(value)))
    return found


def recognise(host: str, query: list[Parameter]) -> Signature:
    """Which signature parameters a query has; `host` is in its normal spelling, as far as it has one."""
    present = frozenset(one.name for one in query)
    used = [(scheme, names) for scheme in SCHEMES if (names := scheme.names_in(present))]
    names = frozenset[str]().union(*(names for _, names in used))
    bearer = frozenset(
        name for name in present - names if name in BEARER_NAMES or name.startswith(BEARER_PREFIXES)
    )
    if not names and not bearer:
        return Signature(None, "", frozenset())
    signer = used[0][0].signer if used else BEARER
    if used and _is_hf(host):
        signer = "hf"
    credential = _credential(signer, [scheme for scheme, _ in used], query)
    mixed = signer != "hf" and len({scheme.signer for scheme, _ in used}) > 1
    if bearer or mixed or not credential:
        # No single scheme vouches for what these mean, so all of them together are the credential.
        credential = "&".join(one.text for one in query if one.name in names | bearer)
    return Signature(signer, credential, names | bearer)


def is_hf_host(host: str) -> bool:
    """Whether this is Hugging Face's hub itself, whose entity tags of large files are their SHA-256."""
    return host.lower().removesuffix(".") in HF_DOMAINS


def _credential(signer: str, used: list[Scheme], query: list[Parameter]) -> str:
    # On Hugging Face's hosts key ids are the hub's own and say nothing about whom the hub signed for.
    own = [scheme for scheme in used if scheme.signer == signer]
    names = [scheme.identity for scheme in own] or ["x-xet-cas-uid"]
    signatures = [scheme.secret for scheme in used] + ["signature"]
    for name in filter(None, names + signatures):
        values = [one.value for one in query if one.name == name]
        if any(values):
            return "\n".join(value.partition("/")[0] if name in names else value for value in values)
    return ""


def _is_hf(host: str) -> bool:
    return any(f".{host.removesuffix('.')}".endswith("." + domain) for domain in HF_DOMAINS)
