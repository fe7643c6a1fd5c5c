"""Object storage: Swift's v1 API. Importing this package declares all its routes."""

from ostro.http.object import accounts as accounts
from ostro.http.object import containers as containers
from ostro.http.object import copies as copies
from ostro.http.object import info as info
from ostro.http.object import objects as objects
from ostro.http.object.service import OBJECT as OBJECT
