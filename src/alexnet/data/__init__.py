"""From photographs to a store, once (paper, section 2).

`sources` lists pictures and their labels, `images` decodes one of them, `prepare` does so with all of them, and
`store` holds the result. `scenes` draws pictures, so that everything can be tried without any.
"""
