"""The part of `BlobManager` that has another key sign."""

from __future__ import annotations

from collections.abc import Callable

from holdall._arguments import check_flag, check_plain_call
from holdall._blobs import BlobCore
from holdall.errors import BatchError
from holdall.types import KeyRotation

_OPERATION = "rotate the signing key of the store"


class BlobSigning(BlobCore):
    """Signatures of what is there."""

    async def rotate_signing_key(
        self,
        *,
        old_key_is_lost: bool = False,
        progress: Callable[[int, int], object] | None = None,
    ) -> KeyRotation:
        """Has the first key of `signing_key` sign this store, after which the others may go.

        Every process that uses the store has to know both keys before.

        Every pickle and joblib value is verified with any key of the ring and signed with the
        first; then the store names that key, and all who have it sign with it. A value keeps its
        key, tags, metadata, time of creation and end of life; its etag and time of change are new.
        One that somebody saves meanwhile stays theirs. What does not verify is never signed.
        Stopped anywhere, it is run again and goes on. Reads every such value; writes survive a
        power cut.

        Args:
            old_key_is_lost: The ring need not have the key that signed so far. What only that one
                signed stays, and is in `refused`; look at it with `trust="any"` and save it anew.
            progress: Called now and then with the number of values checked and of those signed.

        Raises:
            UntrustedPayloadError: The ring lacks the key that signed so far; nothing was done.
            BatchError: Some values could not be read or written (`.errors`). The old key stands
                and is needed until another call succeeds.
        """
        check_flag("old_key_is_lost", old_key_is_lost, _OPERATION)
        check_plain_call("progress", progress, _OPERATION)
        store = await self._open(_OPERATION)
        rotation = await self._wait(store.rotation(old_key_is_lost))
        is_more, checked, resigned = True, 0, 0
        while is_more:
            is_more, checked, resigned = await self._wait(rotation.step())
            if progress is not None:
                progress(checked, resigned)
        fingerprint, _, refused, failed = rotation.report()
        if failed:
            error = BatchError(_OPERATION, {}, failed)
            error.remedy = "keep the old key, mend what .errors says, and call it again"
            raise error
        return KeyRotation(fingerprint, checked, resigned, refused)
