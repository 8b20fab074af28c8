"""`weightwright init`: a commented settings file to start from."""
