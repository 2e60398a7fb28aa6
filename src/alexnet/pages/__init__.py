"""Pages that people keep: what prepare, train, evaluate, report and search write as one HTML file each.

In comes what a page says, as text, numbers and pictures. Out comes a file that needs no other and no
network, readable in light and dark, on a phone and on paper. The HTML is in `templates`, and all pages share its one
stylesheet; `themes` has the colors, which figures take from there too. One page has a script: it saves what people
choose there.
"""
