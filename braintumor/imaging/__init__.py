"""Read image files of any supported format as frames, for training and scoring, without S3 and the database.

``decoding.decode.decode`` turns bytes into ``Decoded`` frames or a ``Rejection``. ``sandbox.decoder_pool.DecoderPool``
does so in separate processes with limits, and returns model input (``model_input``) or a drawn frame (``render``).
``letterbox`` fits a frame into the model's input. ``phantom`` draws synthetic images.
"""
