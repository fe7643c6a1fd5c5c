"""The API between hosts and the control plane: registration, the change feed, reports, image bytes."""

from ostro.http.agent import flows as flows
from ostro.http.agent import hosts as hosts
from ostro.http.agent import images as images
from ostro.http.agent import uploads as uploads
from ostro.http.agent import volumes as volumes
from ostro.http.agent.joining import JOIN as JOIN
from ostro.http.agent.service import AGENT as AGENT
