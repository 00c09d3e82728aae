"""`python -m voice2face_gan` is the same as `v2f-gan`."""

from voice2face_gan.cli import main

if __name__ == "__main__":
    main()
