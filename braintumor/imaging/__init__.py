"""Bytes -> frames, by content: one way in for training and scoring alike. No S3, no database.

::

    frames      decode(data) -> Decoded | Rejection, Limits
      formats   which are scored
      sniff     which one it is
      raster    JPEG and PNG (Pillow)
      tiff      a page is a frame (Pillow)
      nifti     axial slices of a volume (nibabel)
      dicom     MR, single and multi-frame (pydicom), with transfer_syntax (encodings), display (values -> gray levels)
                and dicom_attributes (age band, sex, scanner and sequence, in words that name nobody)
        frame_count   how many frames a DICOM object holds, where its header states too few
        mosaic        DICOM images of several slices, split as their header says
      pixel_aspect  square pixels, for DICOM and NIfTI
      contact_sheet  is_contact_sheet(pixels): whether a picture shows several slices
      slices    which of many frames are scored
      muted     nothing that a decoder says is shown: it quotes tags
    guard       Guard.read(data, size=): all that follows here, in child processes (guarded), with limits
    prepared    prepare_file: all frames of a file as a model sees them; prepare_scan(decoded, size=)
    overlaid    has_text(pixels): whether text is drawn over the image
    preprocess  prepare(pixels, size=) -> what a model sees
    rejection   RejectionReason, Rejection
    deidentify  pseudonym(value, kind=, key=)
    phantom     made-up images
"""
