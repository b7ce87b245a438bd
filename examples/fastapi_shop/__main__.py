"""`python -m fastapi_shop`: make the tables, stock the shelves, and serve, with workers beside."""

import asyncio
import os
import sys
from pathlib import Path

import uvicorn

sys.path.insert(0, str(Path(__file__).parents[1]))  # for `python examples/fastapi_shop`

from fastapi_shop.app import app
from fastapi_shop.database import URL
from fastapi_shop.seeds import prepare


def main() -> None:
    port = int(os.environ.get("PORT", "8000"))
    asyncio.run(prepare())
    print(f"the shop is at http://127.0.0.1:{port}/docs (database {URL.render_as_string()})", flush=True)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main()
