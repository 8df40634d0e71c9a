"""The same object serves `async for`: prints how matured forecasts did beside a random walk."""

import asyncio

from consumers.subscribe import subscribe


async def main() -> None:
    """Print scores until interrupted."""
    async with subscribe("scores", since="beginning") as scores:
        async for score in scores:
            better = abs(score.error) < abs(score.naive_error)
            print(f"{score.symbol}, {score.model_id}: {'nearer' if better else 'not nearer'} than the random walk", flush=True)  # noqa: T201


asyncio.run(main())
