"""No-op trials with Optuna, each in a process of its own: ``python run_optuna.py SCRIPT NUM_TRIALS N_WORKERS``."""

import subprocess
import sys

import optuna


def main(script: str, num_trials: int, n_workers: int) -> None:
    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        command = [sys.executable, script, "--x", repr(x), "--reporter", "-"]
        subprocess.run(command, check=True, timeout=60, stdout=subprocess.PIPE)
        return x

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(objective, n_trials=num_trials, n_jobs=n_workers)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
