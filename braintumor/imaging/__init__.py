"""Read image files of any supported format as frames, for training and scoring.

The package accesses neither S3 nor the database.

::

    decoding/            decode(data) returns Decoded or Rejection
      types              Limits, Frame, DicomIdentity, Decoded
      formats            the scored formats, and sniff(data): a file's format by its content
      rejection          RejectionReason, Rejection
      raster, jpeg, png  JPEG and PNG (Pillow)
      tiff               one frame per page (tifffile, Pillow)
      nifti              slices of a volume (nibabel)
      dicom/             MR, single and multi-frame (pydicom)
        transfer_syntax  encodings of the pixel data
        windowing        stored values to gray levels
        attributes       age band, sex, scanner and sequence, in terms that identify no person
        frame_count      the number of frames, if the header states too few
        mosaic           DICOM images of several slices, split as their header states
      pixel_aspect       square pixels, for DICOM and NIfTI
      contact_sheet      is_contact_sheet(pixels): whether an image shows several slices
      frame_selection    the frames that are scored
      warning_filter     suppresses warnings of decoders, because they quote tags
    sandbox/             DecoderPool.read(data, size=): decode in separate processes, with limits
    model_input          decode_file: all frames of a file as model input
    render               draw_frame: one frame as a PNG
    burned_in_text       has_burned_in_text(pixels): whether text is drawn over the image
    components           find_components(mask): boxes and areas of connected components
    letterbox            letterbox(pixels, size=): a frame as model input
    pseudonym            pseudonym(value, kind=, key=)
    phantom/             synthetic images
"""
