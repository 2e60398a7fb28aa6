"""Moving pictures: a clip in, upright RGB frames at fixed timestamps out (paper, section 7, last sentence).

In comes a file of any container that FFmpeg reads, or an animated GIF or WebP; out come its frames one after the other,
so that an hour needs no more memory than a minute. What is damaged or odd about a clip is said, never guessed.
"""
