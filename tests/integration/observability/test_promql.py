"""promql.py finds the names that an expression uses, and nothing else."""

from __future__ import annotations

from promql import metric_names


def test_names() -> None:
    assert metric_names('up{job="a_b"} == 0') == {"up"}
    assert metric_names('sum by (x) (rate(a_total{l="m"}[$i])) / on (j, k) b_bytes > 0.2') == {"a_total", "b_bytes"}
    assert metric_names('a{s="{"} > 0 and on (j) sum by (j) (increase(b_total[15m])) == 0') == {"a", "b_total"}
    assert metric_names("time() - process_start_time_seconds") == {"process_start_time_seconds"}
    assert metric_names("histogram_quantile(0.5, sum by (le) (rate(h_bucket[1m])))") == {"h_bucket"}
