"""What setup.cfg cannot say: assets/ and experiments/ stay at the top level and install in the package."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["voice2face_gan*"]), "voice2face_gan.assets", "voice2face_gan.recipes"],
    package_dir={"voice2face_gan.assets": "assets", "voice2face_gan.recipes": "experiments"},
    package_data={
        "voice2face_gan": ["py.typed"],
        "voice2face_gan.evaluation.report": ["*.j2"],
        "voice2face_gan.publish": ["*.j2"],
        "voice2face_gan.web": ["pages/*"],
        "voice2face_gan.assets": ["*", "*/*"],
        "voice2face_gan.recipes": ["*.toml", "*/*.toml", "README.md"],
    },
)
