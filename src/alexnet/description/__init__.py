"""What a path or a name is, in one screen: the pages of `alexnet info`."""
