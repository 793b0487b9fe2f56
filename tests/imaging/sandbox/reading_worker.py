"""Run a worker with one busy and one idle decoder process, until it is killed."""

from __future__ import annotations

import threading
import time

from braintumor.imaging.sandbox.decoder_pool import DecoderPool


def main() -> None:
    pool = DecoderPool(processes=2, decode="tests.imaging.bad_decoders:by_last_word")
    pool.read(b"", size=64)
    thread = threading.Thread(target=lambda: pool.read(b"", size=64))  # a thread that ends before its process
    thread.start()
    thread.join()
    threading.Thread(target=lambda: pool.read(b"a spin", size=64), daemon=True).start()
    time.sleep(0.3)
    print("at work", flush=True)
    time.sleep(600)


if __name__ == "__main__":
    main()
