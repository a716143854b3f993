"""Coverage-guided fuzzing of the webhook verifiers: whatever arrives, the answer is an index or BadSignature.

    python -m tests.fuzz.fuzz_signatures -max_total_time=60

Needs `atheris` (`pip install atheris`), which is not built for every platform and so not part of the lock.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

NOW = datetime.fromtimestamp(1_800_000_000, UTC)
SECRETS = ["whsec_not_a_real_secret", "whsec_an_older_one"]


def target() -> Callable[[bytes], None]:
    """The function to fuzz. It imports what it fuzzes, so that the caller can instrument just that."""
    from connectors.sdk.contract import Delivery
    from connectors.sdk.errors import BadPayload, BadSignature
    from connectors.sdk.signatures import HmacScheme, verify_stripe
    from connectors.vendors.stripe.events import envelope

    schemes = [
        verify_stripe,
        HmacScheme("x-signature", "x-timestamp", encoding="base64").verify,
        HmacScheme("x-signature", prefix="sha256=").verify,
    ]

    def check(raw: bytes) -> None:
        """The first line is the header, the second the timestamp, the rest the body."""
        header, _, rest = raw.partition(b"\n")
        stamp, _, body = rest.partition(b"\n")
        # Servers hand over header bytes as Latin-1 or with surrogates; both reach the verifier.
        for decode in ("latin-1", "utf-8"):
            text = header.decode(decode, "surrogateescape")
            headers = dict.fromkeys(("stripe-signature", "x-signature"), text)
            headers["x-timestamp"] = stamp.decode(decode, "surrogateescape")
            for verify in schemes:
                try:
                    verify(Delivery(headers, body), SECRETS, NOW)
                except BadSignature:
                    continue
                raise AssertionError("a forged delivery was accepted")
        with suppress(BadPayload):
            envelope(body)

    return check


def main() -> int:
    """Run the fuzzer with libFuzzer's own options."""
    try:
        import atheris
    except ImportError:
        print("atheris is not installed here: nothing was fuzzed", file=sys.stderr)
        return 2
    with atheris.instrument_imports(include=["connectors"]):
        check = target()
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
