"""Image: Glance's v2 API. Importing this package declares all its routes."""

from ostro.http.image import files as files
from ostro.http.image import images as images
from ostro.http.image import info as info
from ostro.http.image import members as members
from ostro.http.image import schemas as schemas
from ostro.http.image import tags as tags
from ostro.http.image import versions as versions
from ostro.http.image.service import IMAGE as IMAGE
