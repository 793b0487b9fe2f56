"""Read image files of any supported format as frames, for training and scoring, without S3 and the database.

``decoding.decode.decode`` turns bytes into ``Decoded`` frames or a ``Rejection``. ``sandbox.decoder_pool.DecoderPool``
decodes in separate processes with limits of time and memory. It returns frames as model input (``model_input``), or one
frame as a PNG (``render``). ``letterbox`` fits a frame into the model's input. ``phantom`` draws synthetic images.
"""
