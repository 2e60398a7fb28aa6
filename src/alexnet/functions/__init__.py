"""What programs call: a function for each verb. A verb reads what was typed and prints; the function does the work.

Their names are those of the package, `alexnet.train` and so on. They say nothing unless asked (`show`); what is wrong
they raise.
"""
