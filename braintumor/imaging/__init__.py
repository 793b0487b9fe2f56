"""Bytes -> frames, by content: one way in for training and scoring alike. No S3, no database.

::

    frames      decode(data) -> Decoded | Rejection, Limits
      sniff     which format
      raster    JPEG and PNG (Pillow)
      dicom     single-frame MR (pydicom), with transfer_syntax (encodings), display (values -> grey levels) and
                dicom_attributes (age band, sex, scanner and sequence, in words that name nobody)
      muted     nothing that a decoder says is shown: it quotes tags
    preprocess  prepare(pixels, size=) -> what a model sees
    rejection   RejectionReason, Rejection
    deidentify  pseudonym(value, kind=, key=)
    phantom     made-up images
"""
