"""What a bug report needs to say of a machine and an installation: `v2f-gan info`.

Only the standard library is imported here, so that it works where any other package is missing or broken.
Packages are imported in a process of their own (loading.py), which may hang or crash.
"""

from voice2face_gan.environment.machine import machine
from voice2face_gan.environment.packages import software
from voice2face_gan.environment.places import places, variables

__all__ = ["machine", "places", "software", "variables"]
