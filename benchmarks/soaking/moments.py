"""When a fault comes: at a random time of the start, the training, a save, an evaluation, or the end."""

from benchmarks.soaking import promises, runs
from benchmarks.soaking.course import Course

_WHILE_TRAINING = ('training', 'training', 'save', 'save', 'evaluation', 'evaluation', 'end')


def awaited(course: Course) -> str:
    """Waits for a random moment of the present life; what the run is at then, '' if it has ended."""
    life, rng, step = course.life, course.rng, course.life.step()
    limit = promises.LIMITS['the rest of a run']
    wanted = rng.choice(_WHILE_TRAINING if step else (*_WHILE_TRAINING, 'start', 'start', 'start'))
    match wanted:
        case 'start':
            life.reach(lambda: False, rng.uniform(0, course.start_seconds))
        case 'training':
            last = (step or course.newest) + rng.randint(2, 30)
            life.reach(lambda: life.step() >= last, limit)
            life.reach(lambda: False, rng.uniform(0, 0.1))
        case 'save':
            life.reach(course.saving, limit)
            life.reach(lambda: False, rng.uniform(0, 0.02))
        case 'evaluation':
            last = ((step or course.newest) // runs.EVALUATED_EVERY + 1) * runs.EVALUATED_EVERY
            life.reach(lambda: life.step() >= last, limit)
            life.reach(lambda: False, rng.uniform(0, 0.3))
        case 'end':
            life.reach(lambda: life.step() >= course.length, limit)
            life.reach(lambda: False, rng.uniform(0, 2))
    if life.status is not None:
        return ''
    if not life.step():
        return 'start'
    if life.step() >= course.length:
        return 'end'
    return 'save' if course.saving() else 'training' if wanted == 'save' else wanted
