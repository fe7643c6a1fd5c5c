"""A client of one account of the object storage, for tests."""

from __future__ import annotations

from ostro.testing.cloud import Answer, ApiClient, TestCloud


class Swift:
    """Speaks to one account. Header names are given with underscores."""

    def __init__(self, client: ApiClient, project_id: str) -> None:
        self.client = client
        self.project_id = project_id
        self.root = f"/object-store/v1/AUTH_{project_id}"

    async def call(self, method: str, path: str = "", body: bytes | None = None, /, **headers: str) -> Answer:
        """One call; ``path`` is below the account."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.request(method, self.root + path, data=body, headers=sent)

    async def put(self, path: str, body: bytes = b"", /, **headers: str) -> Answer:
        """Put a container or object, which must succeed."""
        answer = await self.call("PUT", path, body, **headers)
        assert answer.status in (201, 202), (answer.status, answer.body)
        return answer

    async def get(self, path: str = "", /, **headers: str) -> Answer:
        """Get something, or the reason why not."""
        return await self.call("GET", path, None, **headers)


async def project_of(client: ApiClient) -> str:
    """The project of a client's token."""
    answer = await client.get("/identity/v3/auth/tokens", headers={"X-Subject-Token": client.token})
    return str(answer.json["token"]["project"]["id"])


async def open_swift(cloud: TestCloud) -> Swift:
    """The administrator's account, with a container ``c``."""
    swift = Swift(cloud.as_admin, await project_of(cloud.as_admin))
    await swift.put("/c")
    return swift
