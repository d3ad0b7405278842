"""The cloud edge: the only package that imports boto3 and botocore (the emulator aside)."""
