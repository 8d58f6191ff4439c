# SPDX-License-Identifier: Apache-2.0
"""A walking skeleton and how a camera sees it."""

from __future__ import annotations

import math

import numpy as np

from .appearance import Person

# Joints; sides are the person's own. Where there is a pair, left comes first.
HEAD, NECK, PELVIS = 0, 1, 2
SHOULDER, ELBOW, WRIST = 3, 5, 7
HIP, KNEE, ANKLE, TOE = 9, 11, 13, 15
JOINTS = 17


def walking_joints(person: Person, phase: float) -> np.ndarray:
    """Joints of a person at one moment of the walking cycle, ``phase`` in radians.

    (17, 3): to the person's left, up, forward; in body heights, the lower foot on
    the ground.
    """
    joints = np.zeros((JOINTS, 3))
    hip = 0.5 * person.legs
    joints[HEAD] = (0, 0.925, 0.012)
    joints[NECK] = (0, 0.85, 0)
    joints[PELVIS] = (0, hip, 0)
    swing = person.stride
    for i, side in enumerate((1, -1)):
        cycle = phase + (0 if side > 0 else math.pi)
        thigh = swing * math.sin(cycle)
        shin = thigh - 0.12 - 1.5 * swing * max(0.0, math.cos(cycle))
        knee_y, ankle_y = 0.235 * person.legs, 0.225 * person.legs
        joints[HIP + i] = (side * 0.052 * person.girth, hip, 0)
        joints[KNEE + i] = joints[HIP + i] + _bone(knee_y, thigh)
        joints[ANKLE + i] = joints[KNEE + i] + _bone(ankle_y, shin)
        joints[TOE + i] = joints[ANKLE + i] + (side * 0.012, -0.018, 0.085)
        arm = -0.9 * swing * math.sin(cycle)
        fore = arm + 0.2 + 0.35 * max(0.0, -math.sin(cycle))
        joints[SHOULDER + i] = (side * 0.108 * person.shoulders, 0.8, 0)
        joints[ELBOW + i] = joints[SHOULDER + i] + _bone(0.165, arm, side * 0.026)
        joints[WRIST + i] = joints[ELBOW + i] + _bone(0.15, fore, side * 0.004)
    lowest = joints[ANKLE : ANKLE + 2, 1].min()
    joints[:, 1] += 0.045 - lowest
    return joints


def _bone(length: float, swing: float, out: float = 0.0) -> np.ndarray:
    """From joint to joint: hanging down, swung forward."""
    return np.array((out, -length * math.cos(swing), length * math.sin(swing)))


def project(points: np.ndarray, yaw: float, pitch: float) -> np.ndarray:
    """Body coordinates (n, 3) as a distant camera sees them: right, up, towards it.

    ``yaw`` is the heading in radians: 0 comes towards the camera, pi / 2 walks to the
    right of the image, pi walks away. ``pitch`` is how far the camera looks down.
    """
    cos, sin = math.cos(yaw), math.sin(yaw)
    seen = np.empty_like(points)
    seen[:, 0] = points[:, 0] * cos + points[:, 2] * sin
    seen[:, 2] = points[:, 2] * cos - points[:, 0] * sin
    seen[:, 1] = points[:, 1] - seen[:, 2] * math.sin(pitch)
    return seen
